"""Tables of text (CSV, TSV): where the table begins and which row names its columns. Start at `reader.read_table`."""
