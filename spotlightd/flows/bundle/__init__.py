"""Rows and the bytes behind them, moved from one instance to another in one file.

select            finds the loads that hold rows of the wanted days, and the fingerprint of each
writer            writes them: documents and frames byte for byte, rows for readers without spotlightd
frames            the encoding of frames in a bundle, and the reader for bundles of other instances
check             tells whether this instance can import a bundle, before anything is stored
importer          imports each load in turn
import_documents  parses documents again with this instance's parser, which must find the same rows
import_frames     decodes frames again with this instance's decoder, which must find the same rows
outcome           the result of each load
"""
