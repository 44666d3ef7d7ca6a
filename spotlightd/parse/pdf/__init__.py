"""Reads tables of PDF reports: `tables` by ruled lines (pdfplumber), `words` by the places of characters (pdfium), and
`agreement`, which compares both cell by cell.

Both libraries are imported when a document is read, and never by the daemon: they take 60 MB.
"""
