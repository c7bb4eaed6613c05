-- Accept a signal. A broadcast is not kept for waits to come.
-- Guard: a signal is accepted once. Index: primary key. Returns: one row if it was not seen before.
insert into holdfast.signals (shard, id, tenant, name, run_id, payload, sent_ms, consumed_ms)
select %(shard)s::smallint, %(signal_id)s::uuid, %(tenant)s, %(name)s, %(id)s::uuid, %(payload)s::json,
       holdfast.now_ms(%(now_ms)s),
       case when %(id)s::uuid is null then holdfast.now_ms(%(now_ms)s) end
    on conflict (shard, tenant, id) do nothing
returning 1
