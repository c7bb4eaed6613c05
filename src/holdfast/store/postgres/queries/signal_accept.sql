-- Accept signals of one tenant: they are under way from now on. Rows: id, tenant, name, run_id, keep_ms, payload.
-- Guard: a signal is accepted once; the tenant has not passed its quota of stored bytes. Index: primary keys.
-- Returns: the ids of those that were not seen before; or the quota that was passed.
with excess as materialized (
    select holdfast.find_overflow(t.tenant) as quota
      from holdfast.tenants t
     where t.tenant = %(tenant)s and t.stored_bytes_max is not null
), accepted as (
    insert into holdfast.signals (shard, id, tenant, name, run_id, payload, sent_ms, expires_ms, passed)
    select %(shard)s::smallint, l.id, l.tenant, l.name, l.run_id, l.payload, holdfast.now_ms(%(now_ms)s),
           holdfast.now_rounded_up_ms(%(now_ms)s) + l.keep_ms, '00000000-0000-0000-0000-000000000000'::uuid
      from rows from (json_to_recordset(%(signals)s::json) as (
           id uuid, tenant text, name text, run_id uuid, keep_ms bigint, payload json))
           with ordinality as l (id, tenant, name, run_id, keep_ms, payload, place)
     where not exists (select from excess e where e.quota is not null)
     order by l.place
        on conflict (shard, tenant, id) do nothing
    returning id
)
select a.id, null::text as quota from accepted a
 union all
select null, e.quota from excess e where e.quota is not null
