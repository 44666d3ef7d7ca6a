"""The archiver: old partitions leave the warehouse when a copy of them is proven, one step at a time.

plan     which partitions are due, and which of them can be sealed now
seal     rows that come later get another generation
export   a Parquet file by the engine, into the bucket; the manifest last
prove    read back, and compared by other code
leave    readers are switched to the copy; much later the partition is dropped
restore  from the bucket back into a table; the drill
held     the way on, when a person has looked
audit    whether the bucket still has everything; taking over an archive whose ledger was lost
checks   when the audit and the drill are due, and what they found last
flow     takes each partition from step to step, holds what does not agree, waits while a store fails
"""
