-- Lock the children that were just waited for, in the order of ids: none of them ends unseen before the commit.
-- Index: primary key. Returns: nothing of use.
select count(*)
  from (select c.id
          from holdfast.runs c
         where c.shard = %(shard)s::smallint and c.id = any(%(ids)s::uuid[])
         order by c.id
           for share of c) locked
