import json, sys
from verify import verify

def taken(case):
    try:
        verify(case["secret"], case["headers"], case["body"].encode(), case["now"])
        return True
    except ValueError:
        return False

print(json.dumps([taken(case) for case in json.load(sys.stdin)]))
