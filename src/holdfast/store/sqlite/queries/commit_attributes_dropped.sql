-- Take a search attribute out of the index. Access: the primary key. Counts 1, or 0 if there was none.
delete from holdfast_attributes where shard = 0 and run_id = :run_id and name = :name
