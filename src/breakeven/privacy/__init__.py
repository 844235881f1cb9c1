"""Data stays: labels, and the clearance without which nothing leaves the machine."""
