"""What the ports are in the real world. Each module translates to one outside system and maps its errors."""
