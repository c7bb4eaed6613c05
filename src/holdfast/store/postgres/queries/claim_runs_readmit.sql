-- Put barred runs back into the line that claims read, where they stood: those whose pause is over, and as many of each
-- tenant and queue as its quota and limit have room for now. What is put back too early is barred again by the claim.
-- Guard: barred by what bars it no more (open_bars). Index: runs_barred; primary key. Returns: nothing.
with back as materialized (
    select p.*
      from holdfast.open_bars(%(shard)s::smallint, %(queues)s::text[], %(look)s::bigint) g
     cross join lateral (
           select r.shard, r.id
             from holdfast.runs r
            where r.shard = %(shard)s::smallint and r.tenant = g.tenant and r.barred_by = g.bar
            order by r.priority desc, r.ready_ms, r.id
            limit g.room
              for no key update of r skip locked) p
)
update holdfast.runs r
   set barred_by = null
  from (select m.* from (select o.* from back o limit (select 1000000000)) m limit (select 1000000000)) b
 where r.shard = b.shard and r.id = b.id and coalesce(r.barred_by, '') <> ''
