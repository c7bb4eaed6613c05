-- The held runs that somebody wants cancelled. Access: runs_cancel.
-- Returns: one JSON array of ids.
select json_group_array(id) from holdfast_runs indexed by holdfast_runs_cancel where shard = 0 and cancel_requested = 1 and worker is not null
