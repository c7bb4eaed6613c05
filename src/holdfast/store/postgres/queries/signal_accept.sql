-- Accept signals: they are under way from now on. Rows: id, tenant, name, run_id, keep_ms, payload.
-- Guard: a signal is accepted once. Index: primary key. Returns: the ids of those that were not seen before.
insert into holdfast.signals (shard, id, tenant, name, run_id, payload, sent_ms, expires_ms, passed)
select %(shard)s::smallint, l.id, l.tenant, l.name, l.run_id, l.payload, holdfast.now_ms(%(now_ms)s),
       holdfast.now_rounded_up_ms(%(now_ms)s) + l.keep_ms, '00000000-0000-0000-0000-000000000000'::uuid
  from rows from (json_to_recordset(%(signals)s::json) as (
       id uuid, tenant text, name text, run_id uuid, keep_ms bigint, payload json))
       with ordinality as l (id, tenant, name, run_id, keep_ms, payload, place)
 order by l.place
    on conflict (shard, tenant, id) do nothing
returning id
