-- Record a signal: kept for its run if consumed_ms is null.
insert into signals (shard, id, tenant, name, run_id, payload, sent_ms, consumed_ms, wait_key)
values (0, :id, :tenant, :name, :run_id, :payload, :now_ms, :consumed_ms, :wait_key)
