"""Agreement of ordered grades. This folder is a complete Space."""
