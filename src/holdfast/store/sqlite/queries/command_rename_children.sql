-- Tell the children of a run under which keys they were started, now that these are others.
-- Access: runs_parent.
update holdfast_runs as runs set parent_key = p.value
from json_each(:renamed) as p
where runs.parent_id = :run_id and runs.parent_key = p.key
