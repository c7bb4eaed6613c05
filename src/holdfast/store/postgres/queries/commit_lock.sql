-- Lock, in the order of ids, all runs that a batch with children will touch: its own, those that wait for their end,
-- and the children that it is about to wait for. Two batches that touch each other's runs then wait instead of dying.
-- Index: primary key, waits_open_child. Returns: nothing of use.
select count(*)
  from (select r.id
          from holdfast.runs r
         where r.shard = %(shard)s::smallint
           and r.id in (select l.id from json_to_recordset(%(leases)s::json) as l (id uuid)
                         union
                        select w.run_id
                          from json_to_recordset(%(leases)s::json) as l (id uuid)
                          join holdfast.waits w
                            on w.shard = %(shard)s::smallint and w.child_id = l.id and w.outcome is null
                         union
                        select c.id from unnest(%(children)s::uuid[]) as c (id))
         order by r.id
           for no key update of r) locked
