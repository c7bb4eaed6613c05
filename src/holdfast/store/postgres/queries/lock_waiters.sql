-- Lock, in the order of ids, the runs that wait for the end of these: none of them parks unseen before the commit.
-- Index: waits_open_child, primary key. Returns: one row, how many there are.
select count(*) as waiters
  from (select r.id
          from holdfast.runs r
         where r.shard = %(shard)s::smallint
           and r.id in (select w.run_id
                          from holdfast.waits w
                         where w.shard = %(shard)s::smallint and w.child_id = any(%(ids)s::uuid[])
                           and w.outcome is null)
         order by r.id
           for no key update of r) locked
