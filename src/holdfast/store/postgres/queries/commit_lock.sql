-- Lock, in the order of ids, all runs that a batch with children will touch: its own, those that wait for their end,
-- and the children that it is about to wait for. Two batches that touch each other's runs then wait instead of dying.
-- Index: primary key, waits_open_child. Returns: nothing of use.
select count(*)
  from (select f.id
          from (select l.id from json_to_recordset(%(leases)s::json) as l (id uuid)
                 union
                select w.run_id
                  from json_to_recordset(%(leases)s::json) as l (id uuid)
                 cross join lateral (
                       select o.run_id
                         from holdfast.waits o
                        where o.shard = %(shard)s::smallint and o.child_id = l.id and o.outcome is null
                       offset 0) w
                 union
                select c.id from unnest(%(children)s::uuid[]) as c (id)
                 order by 1) f
         cross join lateral (
               select r.id
                 from holdfast.runs r
                where r.shard = %(shard)s::smallint and r.id = f.id
                  for no key update of r) locked) all_locked
