"""Rows and the bytes that they lead back to, from one instance to another in one file.

choose     which loads hold rows of the days that were asked for, and the fingerprint of what each brought
pack       writes them: documents as they are, frames as they came, rows for whoever has no spotlightd
frames     how frames stand in a bundle, and how somebody else's are read
check      whether a bundle can be imported here at all, asked before anything is kept
bring      the import: each load in turn, by one of the two below
documents  this instance's own parser reads the bytes again, and must find the same rows
receive    this instance's own decode reads the frames of a stream again, and must find the same rows
words      what became of each load
"""
