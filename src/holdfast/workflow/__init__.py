"""What users import to write workflows."""
