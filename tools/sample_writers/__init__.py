"""Writers that turn the readable texts of the samples into documents; each format has one module."""
