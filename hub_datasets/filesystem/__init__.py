"""Opens source folders at any address, unpacks zip files as they are read, and writes folders atomically."""
