import asyncio,sys
sys.path.insert(0,'.')
from tests.properties.test_statistics import *
from tests.properties.test_statistics import _work
from tests.support import recount as R
events=arrivals(1000)
async def main():
    s=MemoryStore()
    await s.write(lambda w:w.bind('i',[0]))
    for at in range(0,len(events),200): await s.write(_work(events[at:at+200],at))
    by={}
    for e in events: by.setdefault(e.execution_id,{}).setdefault(e.id,e)
    n=0
    for (t,id_),x in s._tables.executions.items():
        end=R._end_of(list(by[id_].values()))
        got=None if x.ended_us is None else (x.workflow_id,x.status,x.trigger,x.fingerprint,x.ended_us,x.duration_us)
        exp=None if end is None else (end.workflow_id,end.status,end.trigger,end.error,end.ended_us,end.duration_us)
        if got!=exp:
            n+=1
            if n<4:
                print(id_,got,exp)
                for e in by[id_].values(): print('   ',e.type,e.time_us,e.source,e.sequence,e.epoch,e.workflow_id,e.data)
    print(n)
asyncio.run(main())
