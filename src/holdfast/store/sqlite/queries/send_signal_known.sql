-- Whether a signal was sent before. Access: the primary key. Returns: 0 or 1.
select exists (select 1 from holdfast_signals where shard = 0 and tenant = :tenant and id = :id)
