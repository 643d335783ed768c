"""Pictures: charts as plain SVG text, maps and vials through matplotlib (which nothing else imports)."""
