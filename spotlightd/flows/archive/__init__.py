"""The archiver: old partitions leave the warehouse after a copy of them is verified, one step at a time.

plan      finds partitions that are due, and seals them: later rows get another generation
export    writes a Parquet file with the engine, and uploads it and its manifest
copies    finds the copies of a partition that are in the bucket already, and decides where a new one goes
verify    reads the copy back and compares it with code that had no part in writing it
switch    sends readers to the copy, and much later drops the partition
restore   brings rows from the bucket back into a table; the drill
repair    takes up held partitions again after a person has looked
audit     checks whether the bucket still has everything; adopts an archive whose ledger was lost
checks    decides when the audit and the drill are due, and records their results
pacing    decides when a partition may take its next step
archiver  takes each partition from stage to stage
flow      runs the archiver in the daemon, and its jobs
"""
