def find_identifiers(text):
    return []
