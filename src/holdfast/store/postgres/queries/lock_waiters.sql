-- Lock, in the order of ids, the runs that wait for the end of these: none of them parks unseen before the commit.
-- Index: waits_open_child, primary key. Returns: one row, how many there are.
select count(*) as waiters
  from (select distinct w.run_id
          from unnest(%(ids)s::uuid[]) as e (id)
         cross join lateral (
               select o.run_id
                 from holdfast.waits o
                where o.shard = %(shard)s::smallint and o.child_id = e.id and o.outcome is null
               offset 0) w
         order by w.run_id) f
 cross join lateral (
       select r.id
         from holdfast.runs r
        where r.shard = %(shard)s::smallint and r.id = f.run_id
          for no key update of r) locked
