-- The oldest signal that is under way. Access: signals_under_way.
-- Returns: tenant, id, name, run id, how far it has come; or no row.
select tenant, id, name, run_id, passed from holdfast_signals indexed by holdfast_signals_under_way
where shard = 0 and passed is not null and passed >= '' order by rowid limit 1
