"""The trial's report: one folder of plain pages that opens from disk and asks no network for anything."""
