"""Agreement of findings in English and Chinese medical texts. This folder is a complete Space."""
