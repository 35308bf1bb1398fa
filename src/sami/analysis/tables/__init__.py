"""Tables: what the records of a run say, with intervals over queries. Each is declared once, in `catalogue`."""
