import sys; sys.path.insert(0,'.')
from tests.properties.test_statistics import *
events=arrivals(1000)
ends,_=recount(events)
dele={e.execution_id for e in events if e.type=='execution.deleted'}
print(len(dele), Counter(e.trigger for e in ends if not e.node_id), sum('trigger' in e.data for e in events), sum(e.type in('execution.started','execution.queued') for e in events))
