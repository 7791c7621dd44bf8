"""CrystalFramer's one costly operation: attention over every image of every atom."""
