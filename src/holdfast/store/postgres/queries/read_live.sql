-- Which of these runs the worker holds.
-- Index: primary keys. Returns: one row per run: its id, whether it is to be cancelled, and to be given back, because it
-- is to be paused, somebody wants to move it, or a pause of its queue, workflow or tenant recalls it.
select r.id, r.cancel_requested,
       r.pause_requested or coalesce(r.aside_until_ms > holdfast.now_ms(%(now_ms)s), false) or exists (
           select
             from holdfast.pauses p
            where p.tenant = r.tenant and p.bar in ('tenant', 'queue:' || r.queue, 'workflow:' || r.workflow)
              and p.recalls)
  from unnest(%(ids)s::uuid[]) as d (id)
 cross join lateral (
       select o.*
         from holdfast.runs o
        where o.shard = %(shard)s::smallint and o.id = d.id
       offset 0) r
 where r.worker = %(worker)s
 order by r.id
