-- Set search attributes, in the run's row and in their index; null takes one away.
-- Guard: the run is held at the lease's epoch. Index: primary keys. Returns: nothing.
with named as materialized (
    select o.*, l.attributes as given
      from json_to_recordset(%(attributes)s::json) as l (id uuid, epoch bigint, running boolean, attributes jsonb)
     cross join lateral (
           select r.shard, r.id, r.tenant, r.created_ms
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.id = l.id and r.epoch = l.epoch
              and coalesce(r.worker, '') <> ''
              and (r.status = 'running' or (r.status = 'compensating' and not l.running))
            limit 1) o
), changed as (
    update holdfast.runs r
       set attributes = jsonb_strip_nulls(r.attributes || n.given)
      from (select m.* from (select o.* from named o limit (select 1000000000)) m limit (select 1000000000)) n
     where r.shard = n.shard and r.id = n.id
), dropped as (
    delete from holdfast.attributes a
     using (select o.shard, o.id, k.key
              from named o cross join lateral jsonb_each(o.given) k
             where k.value = 'null'
             limit (select 1000000000)) d
     where a.shard = d.shard and a.run_id = d.id and a.name = d.key
)
insert into holdfast.attributes (shard, run_id, name, tenant, kind, text, number, created_ms)
select n.shard, n.id, a.name, n.tenant, a.kind, a.text, a.number, n.created_ms
  from named n cross join lateral holdfast.attribute_rows(jsonb_strip_nulls(n.given)) a
    on conflict (shard, run_id, name) do update
       set kind = excluded.kind, text = excluded.text, number = excluded.number
