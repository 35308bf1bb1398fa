"""The page of one experiment, report.html: `page` renders it, `browser` is the data of its browser of responses."""
