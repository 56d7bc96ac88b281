"""Programs with tests of the usual forms, each right: (name, program, tests, a wrong program).

The wrong one, where there is one, must fail the same tests.
"""

# ruff: noqa: E501 - programs and templates are data
from __future__ import annotations

SQUARE = "def square(x):\n    return x * x"
STACK = """
class Stack:
    def __init__(self, items=()):
        self.items = list(items)
    def push(self, item):
        self.items.append(item)
        return self
    def pop(self):
        if not self.items:
            raise IndexError("pop from an empty stack")
        return self.items.pop()
    def __len__(self):
        return len(self.items)
    def __iter__(self):
        return iter(self.items)
    def __contains__(self, item):
        return item in self.items
"""
VECTOR = """
from dataclasses import dataclass

@dataclass(frozen=True)
class Vector:
    x: float
    y: float
    def __add__(self, other):
        return Vector(self.x + other.x, self.y + other.y)
    def __mul__(self, k):
        return Vector(self.x * k, self.y * k)
    def __rmul__(self, k):
        return self * k
    def __abs__(self):
        return (self.x ** 2 + self.y ** 2) ** 0.5
    def __bool__(self):
        return bool(self.x or self.y)
    def __lt__(self, other):
        return abs(self) < abs(other)
"""
BANK = """
class InsufficientFunds(Exception):
    def __init__(self, needed, balance):
        super().__init__(f"needed {needed}, balance {balance}")
        self.needed = needed

class Account:
    bank = "B"
    def __init__(self, balance=0):
        self.balance = balance
        self._log = []
    @property
    def is_empty(self):
        return self.balance == 0
    @classmethod
    def rich(cls):
        return cls(10**6)
    @staticmethod
    def fee(amount):
        return amount * 0.01
    def withdraw(self, amount):
        if amount > self.balance:
            raise InsufficientFunds(amount, self.balance)
        self.balance -= amount
        self._log.append(("withdraw", amount))
    def history(self):
        return list(self._log)
    def __enter__(self):
        return self
    def __exit__(self, *_):
        self.balance = 0
    def __repr__(self):
        return f"Account({self.balance})"
"""
PROGRAMS: list[tuple[str, str, str, str]] = [
    ("asserts", SQUARE, "assert square(3) == 9\nassert square(-2) == 4, 'negative'", "square = abs"),
    ("function", SQUARE, "def test_it():\n    assert square(3) == 9", "def square(x): return x"),
    ("check", SQUARE, "def check(candidate):\n    assert candidate(3) == 9\n"
     "    assert candidate(0) == 0\ncheck(square)", "def square(x): return 0"),
    ("metadata", SQUARE, "METADATA = {'author': 'x'}\n\n\ndef check(candidate):\n"
     "    assert candidate(3) == 9\n    assert True, 'edge'\n\ncheck(square)", "square = len"),
    ("unittest", SQUARE, "import unittest\nclass T(unittest.TestCase):\n"
     "    def setUp(self):\n        self.three = 3\n"
     "    def test_a(self):\n        self.assertEqual(square(self.three), 9)\n"
     "    def test_b(self):\n        with self.assertRaises(TypeError):\n            square('a')\n"
     "if __name__ == '__main__':\n    unittest.main()", "def square(x): return 9"),
    ("unittest main", SQUARE, "import unittest\nclass T(unittest.TestCase):\n"
     "    def test_a(self):\n        for i in range(3):\n            with self.subTest(i=i):\n"
     "                self.assertEqual(square(i), i * i)\nunittest.main()", "def square(x): return 0"),
    ("unittest class level", STACK, "import unittest\nclass T(unittest.TestCase):\n"
     "    shared = Stack([1])\n    @classmethod\n    def setUpClass(cls):\n        cls.s = Stack([1, 2])\n"
     "    def test_a(self):\n        self.assertEqual(len(self.s), 2)\n        self.assertIn(1, self.s)\n"
     "        self.assertEqual(self.shared.pop(), 1)", ""),
    ("test class", SQUARE, "class TestSquare:\n    def test_a(self):\n        assert square(2) == 4",
     "def square(x): return 5"),
    ("floats", "def half(x):\n    return x / 2", "assert abs(half(1) - 0.5) < 1e-9\n"
     "assert round(half(2.718), 2) == 1.36\nimport math\nassert math.isclose(half(3), 1.5)",
     "def half(x): return x"),
    ("float kinds", "def kinds():\n    return [float('nan'), float('inf'), -0.0, 1e300, 0.1 + 0.2]",
     "a = kinds()\nassert a[0] != a[0] and a[1] == float('inf') and str(a[2]) == '-0.0'\n"
     "assert a[3] == 1e300 and a[4] == 0.30000000000000004 and isinstance(a[4], float)", ""),
    ("imports of the program", "import math\nfrom math import isclose\nfrom collections import Counter\n"
     "def area(r):\n    return math.pi * r ** 2\ndef count(s):\n    return Counter(s)",
     "assert math.isclose(area(1), math.pi)\nassert isclose(area(0), 0)\n"
     "assert count('aab') == Counter('aab') == {'a': 2, 'b': 1}", ""),
    ("collections", "def pair(a, b):\n    return (a, {b}, {a: [b]}, frozenset([a]), b'x', None, True)",
     "assert pair(1, 2) == (1, {2}, {1: [2]}, frozenset([1]), b'x', None, True)\n"
     "assert isinstance(pair(1, 2), tuple) and type(pair(1, 2)[1]) is set", ""),
    ("library types", "import datetime, decimal, fractions, collections\ndef many():\n"
     "    return [datetime.date(2020, 1, 2), datetime.timedelta(1), decimal.Decimal('1.10'),\n"
     "            fractions.Fraction(1, 3), collections.deque([1], 5), collections.OrderedDict(a=1),\n"
     "            collections.defaultdict(int, a=1), 2 + 3j, range(3), datetime.datetime(2020, 1, 2)]",
     "from datetime import *\nfrom decimal import Decimal\nfrom fractions import Fraction\n"
     "from collections import *\nassert many() == [date(2020, 1, 2), timedelta(1), Decimal('1.1'),\n"
     "    Fraction(1, 3), deque([1]), OrderedDict(a=1), {'a': 1}, 2 + 3j, range(3),\n"
     "    datetime(2020, 1, 2)]", ""),
    ("huge numbers", "def power(n):\n    return 2 ** n", "assert power(20000) == 2 ** 20000\n"
     "assert power(-1) == 0.5\nassert power(64) % 7 == 2 ** 64 % 7", ""),
    ("texts", "def echo(s):\n    return s + 'é\\u2603\\n\\x00'", "assert echo('ab') == 'abé☃\\n\\0'\n"
     "assert echo('').startswith('é') and len(echo('x')) == 5", ""),
    ("in place", "def order(xs):\n    xs.sort()\ndef turn(grid):\n    grid[0][0] = 9\n    grid.append([7])\n"
     "def add(d, s, b, q):\n    d['k'] = 1\n    s.add(2)\n    b.append(3)\n    q.appendleft(4)",
     "from collections import deque\nxs = [3, 1, 2]\nassert order(xs) is None\nassert xs == [1, 2, 3]\n"
     "row = [1]\ngrid = [row, row]\nturn(grid)\nassert grid == [[9], [9], [7]] and row == [9]\n"
     "assert grid[0] is row\nd, s, b, q = {}, {1}, bytearray(), deque()\nadd(d, s, b, q)\n"
     "assert (d, s, b, q) == ({'k': 1}, {1, 2}, bytearray([3]), deque([4]))",
     "def order(xs): pass"),
    ("the same list back", "def put(xs, x):\n    xs.append(x)\n    return xs",
     "xs = []\nassert put(xs, 1) is xs\nassert put(put(xs, 2), 3) == xs == [1, 2, 3]", ""),
    ("inputs left alone", "def ordered(xs):\n    return sorted(xs)",
     "xs = [2, 1]\nassert ordered(xs) == [1, 2] and xs == [2, 1]", "def ordered(xs): xs.sort(); return xs"),
    ("default list", "def add(x, to=None):\n    to = [] if to is None else to\n    to.append(x)\n    return to",
     "assert add(1) == [1]\nassert add(2) == [2]", ""),
    ("expected errors", "def root(x):\n    if x < 0:\n        raise ValueError('negative')\n    return x ** .5",
     "try:\n    root(-1)\n    assert False, 'no error'\nexcept ValueError as error:\n"
     "    assert str(error) == 'negative'\nassert root(4) == 2", "def root(x): return 2.0"),
    ("own errors", BANK, "a = Account(5)\ntry:\n    a.withdraw(9)\n    raise AssertionError('none')\n"
     "except InsufficientFunds as error:\n    assert error.needed == 9 and 'balance 5' in str(error)\n"
     "assert a.balance == 5 and issubclass(InsufficientFunds, Exception)", ""),
    ("errors of the library", "import json\ndef load(s):\n    return json.loads(s)",
     "import json, unittest\nclass T(unittest.TestCase):\n    def test_a(self):\n"
     "        self.assertRaises(json.JSONDecodeError, load, '{')\n"
     "        with self.assertRaisesRegex(ValueError, 'Expecting'):\n            load('{')\n"
     "        self.assertEqual(load('[1]'), [1])", ""),
    ("system exit", "import sys\ndef leave():\n    sys.exit(3)",
     "try:\n    leave()\nexcept SystemExit as e:\n    assert e.code == 3\nelse:\n    assert False", ""),
    ("a class", STACK, "s = Stack()\ns.push(1)\ns.push(2)\nassert len(s) == 2\nassert s.pop() == 2\n"
     "assert s.items == [1] and list(s) == [1] and 1 in s and 2 not in s\nassert isinstance(s, Stack)\n"
     "assert s.push(5) is s and bool(s)\ns.items = [7]\nassert s.pop() == 7\n"
     "try:\n    s.pop()\n    assert False\nexcept IndexError:\n    pass\nassert not s", ""),
    ("an account", BANK, "a = Account.rich()\nassert a.balance == 10**6 and not a.is_empty\n"
     "a.withdraw(1)\nassert a.history() == [('withdraw', 1)]\nassert abs(Account.fee(50) - .5) < 1e-9\n"
     "assert repr(a) == 'Account(999999)' == f'{a}' and Account.bank == 'B'\n"
     "with Account(3) as b:\n    assert b.balance == 3\nassert b.is_empty and hasattr(b, 'balance')\n"
     "assert not hasattr(b, 'colour') and type(b).__name__ == 'Account' and type(a) is type(b)", ""),
    ("operators", VECTOR, "a, b = Vector(1, 2), Vector(3, 4)\nassert a + b == Vector(4, 6) != a\n"
     "assert a * 2 == 2 * a == Vector(2, 4)\nassert abs(b) == 5.0 and a < b and not Vector(0, 0)\n"
     "assert len({a, Vector(1, 2), b}) == 2 and sorted([b, a])[0] is a\nassert (a * 2).x == 2\n"
     "try:\n    a.x = 5\n    assert False\nexcept AttributeError:\n    pass", ""),
    ("inheritance", "from abc import ABC, abstractmethod\nclass Shape(ABC):\n    @abstractmethod\n"
     "    def area(self): ...\nclass Square(Shape):\n    def __init__(self, a):\n        self.a = a\n"
     "    def area(self):\n        return self.a ** 2",
     "s = Square(3)\nassert isinstance(s, Shape) and issubclass(Square, Shape) and s.area() == 9\n"
     "try:\n    Shape()\n    assert False\nexcept TypeError:\n    pass", ""),
    ("enums", "import enum\nclass Color(enum.Enum):\n    RED = 1\n    BLUE = 2\n"
     "class Level(enum.IntEnum):\n    LOW = 1\n    HIGH = 2\ndef mix(a):\n    return Color.BLUE",
     "assert Color.RED.value == 1 and Color.RED.name == 'RED' and Color(2) is Color.BLUE\n"
     "assert mix(Color.RED) == Color.BLUE and Color['RED'] == Color.RED != Color.BLUE\n"
     "assert [c.name for c in Color] == ['RED', 'BLUE'] and len(Color) == 2\n"
     "assert Level.LOW < Level.HIGH and Level.HIGH == 2 and {Color.RED: 1}[Color.RED] == 1", ""),
    ("named tuples", "from collections import namedtuple\nPoint = namedtuple('Point', 'x y')\n"
     "def point(x):\n    return Point(x, 2)", "p = point(1)\nassert p == (1, 2) and p.x == 1 and p[1] == 2\n"
     "assert p == Point(1, 2) and isinstance(p, tuple) and p._asdict() == {'x': 1, 'y': 2}\n"
     "x, y = p\nassert x + y == 3 and len(p) == 2 and p._replace(x=5).x == 5", ""),
    ("subclasses of collections", "class Bag(list):\n    def total(self):\n        return sum(self)\n"
     "class Table(dict):\n    pass\ndef table():\n    return Table(a=1)",
     "b = Bag([1, 2])\nassert b == [1, 2] and b.total() == 3 and len(b) == 2\nb.append(3)\n"
     "assert b == [1, 2, 3] and b[0] == 1 and table() == {'a': 1} and table()['a'] == 1", ""),
    ("generators", "def count(n):\n    for i in range(n):\n        yield i\ndef forever():\n    i = 0\n"
     "    while True:\n        yield i\n        i += 1",
     "from itertools import islice\nassert list(count(4)) == [0, 1, 2, 3]\n"
     "assert list(islice(forever(), 3)) == [0, 1, 2] and sum(count(4)) == 6\ng = count(2)\n"
     "assert next(g) == 0 and next(g) == 1 and next(g, None) is None\nassert 2 in count(3)\n"
     "assert [a for a in zip(count(2), 'ab')] == [(0, 'a'), (1, 'b')]", ""),
    ("views and iterators", "def parts(d):\n    return d.keys(), d.values(), d.items(), map(str, d), reversed([1, 2])",
     "k, v, i, m, r = parts({'a': 1})\nassert list(k) == ['a'] and list(v) == [1] and dict(i) == {'a': 1}\n"
     "assert list(m) == ['a'] and list(r) == [2, 1] and k == {'a'} and 'a' in k", ""),
    ("callbacks", "def apply(f, xs):\n    return [f(x) for x in xs]\ndef best(xs, key):\n    return max(xs, key=key)",
     "seen = []\ndef note(x):\n    seen.append(x)\n    return x + 1\nassert apply(note, [1, 2]) == [2, 3]\n"
     "assert seen == [1, 2] and best(['a', 'bbb'], len) == 'bbb' and best([1, -5], abs) == -5\n"
     "assert apply(lambda x: x * 2, [1]) == [2] and apply(str, [1]) == ['1']", ""),
    ("errors through callbacks", "def twice(f):\n    f()\n    f()",
     "class Stop(Exception):\n    pass\ndef fail():\n    raise Stop('now')\ntry:\n    twice(fail)\n"
     "    assert False\nexcept Stop as error:\n    assert str(error) == 'now'", ""),
    ("closures", "def adder(n):\n    def add(x):\n        return x + n\n    return add\n"
     "def compose(*fs):\n    def run(x):\n        for f in fs:\n            x = f(x)\n        return x\n    return run",
     "assert adder(2)(3) == 5 and callable(adder(1))\nassert compose(adder(1), lambda x: x * 2)(3) == 8\n"
     "assert adder(1).__name__ == 'add'", ""),
    ("decorators", "import functools\ndef logged(f):\n    @functools.wraps(f)\n    def run(*a, **k):\n"
     "        run.calls += 1\n        return f(*a, **k)\n    run.calls = 0\n    return run\n"
     "@functools.lru_cache(None)\ndef fib(n):\n    return n if n < 2 else fib(n - 1) + fib(n - 2)",
     "@logged\ndef double(x):\n    return 2 * x\nassert double(2) == 4 and double(x=3) == 6\n"
     "assert double.calls == 2 and fib(50) == 12586269025 and fib.cache_info().hits > 0", ""),
    ("objects of the tests", "def total(node):\n    s = 0\n    while node:\n        s += node.value\n"
     "        node = node.next\n    return s\ndef rename(x):\n    x.name = 'new'\n    return x",
     "class Node:\n    def __init__(self, value, next=None):\n        self.value, self.next = value, next\n"
     "assert total(Node(1, Node(2))) == 3 and total(None) == 0\nn = Node(1)\n"
     "assert rename(n) is n and n.name == 'new'", ""),
    ("linked lists of the program", "class ListNode:\n    def __init__(self, val=0, next=None):\n        self.val = val\n"
     "        self.next = next\nclass Solution:\n    def reverse(self, head):\n        last = None\n"
     "        while head:\n            head.next, last, head = last, head, head.next\n        return last",
     "head = ListNode(1, ListNode(2))\nout = Solution().reverse(head)\n"
     "assert (out.val, out.next.val, out.next.next) == (2, 1, None) and out.next is head", ""),
    ("printing", "def hello(name):\n    print('Hello,', name)\n    print('bye')",
     "import io\nfrom contextlib import redirect_stdout\nout = io.StringIO()\nwith redirect_stdout(out):\n"
     "    hello('Ann')\nassert out.getvalue() == 'Hello, Ann\\nbye\\n'",
     "def hello(name): print('Hello')"),
    ("reading", "import sys\ndef ask():\n    return int(input('n? ')) + int(sys.stdin.readline())",
     "import io, sys\nfrom unittest.mock import patch\nsys.stdin = io.StringIO('3\\n4\\n')\nassert ask() == 7\n"
     "with patch('builtins.input', return_value='5'):\n    sys.stdin = io.StringIO('1')\n    assert ask() == 6", ""),
    ("files", "def save(path, text):\n    with open(path, 'w') as f:\n        f.write(text)\ndef load(path):\n"
     "    with open(path) as f:\n        return f.read()",
     "import os, tempfile\nopen('b.txt', 'w').write('from the tests')\nsave('a.txt', 'hi')\n"
     "assert load('a.txt') == 'hi' == open('a.txt').read() and load('b.txt') == 'from the tests'\n"
     "assert os.path.exists('a.txt')\ntry:\n    load('none')\n    assert False\nexcept FileNotFoundError:\n    pass", ""),
    ("text streams", "def words(f):\n    return [w for line in f for w in line.split()]",
     "import io\nassert words(io.StringIO('a b\\nc')) == ['a', 'b', 'c']", ""),
    ("threads", "import threading, queue\ndef work(n):\n    out = queue.Queue()\n"
     "    ts = [threading.Thread(target=out.put, args=(i,)) for i in range(n)]\n"
     "    [t.start() for t in ts]\n    [t.join() for t in ts]\n    return sorted(out.get() for _ in ts)",
     "assert work(4) == [0, 1, 2, 3]", ""),
    ("deep recursion in a thread", "import sys, threading\ndef deep(n):\n    return 0 if n == 0 else 1 + deep(n - 1)\n"
     "def run(n):\n    sys.setrecursionlimit(10**5)\n    threading.stack_size(64 << 20)\n    out = []\n"
     "    t = threading.Thread(target=lambda: out.append(deep(n)))\n    t.start()\n    t.join()\n    return out[0]",
     "assert run(9000) == 9000", ""),
    ("asyncio", "import asyncio\nasync def fetch(x):\n    await asyncio.sleep(0)\n    return x + 1\n"
     "async def many(n):\n    return await asyncio.gather(*(fetch(i) for i in range(n)))",
     "import asyncio\nassert asyncio.run(fetch(1)) == 2 and asyncio.run(many(3)) == [1, 2, 3]\n"
     "async def main():\n    return await fetch(5)\nassert asyncio.run(main()) == 6", ""),
    ("regular expressions", "import re\ndef find(s):\n    return re.search(r'(\\d+)', s)",
     "m = find('a12')\nassert m and m.group(1) == '12' and m.span() == (1, 3)\nassert find('a') is None\n"
     "assert not find('')", ""),
    ("named like Python's own", "def sum(a, b):\n    return a + b", "assert sum(10, 15) == 25\nassert sum(1, 1) == 2",
     "def sum(a, b): return 25"),
    ("named like a module", "def calendar(year):\n    return year + 1", "assert calendar(1) == 2", ""),
    ("globals of the program", "LIMIT = 3\ncount = 0\ndef step():\n    global count\n    count += 1\n    return count",
     "assert LIMIT == 3\nassert step() == 1\nx = step() + step()\nassert count >= 2", ""),
    ("state across calls", "cache = {}\ndef put(k, v):\n    cache[k] = v\ndef get(k):\n    return cache.get(k)",
     "put('a', 1)\nassert get('a') == 1\nassert get('b') is None", ""),
    ("strings of classes", "class Cat:\n    sound = 'meow'\n    def __str__(self):\n        return 'a cat'\n"
     "    def __eq__(self, other):\n        return isinstance(other, Cat)\n    def __hash__(self):\n        return 1",
     "assert str(Cat()) == 'a cat' and Cat() == Cat() and Cat().sound == Cat.sound == 'meow'\n"
     "assert Cat() != 5 and hash(Cat()) == 1 and 'Cat' in Cat.__name__", ""),
    ("copies", VECTOR, "import copy\na = Vector(1, 2)\nassert copy.deepcopy(a) == a and copy.copy(a) == a", ""),
    ("getitem and call", "class Poly:\n    def __init__(self, *c):\n        self.c = list(c)\n"
     "    def __call__(self, x):\n        return sum(k * x ** i for i, k in enumerate(self.c))\n"
     "    def __getitem__(self, i):\n        return self.c[i]\n    def __setitem__(self, i, v):\n        self.c[i] = v\n"
     "    def __delitem__(self, i):\n        del self.c[i]",
     "p = Poly(1, 2)\nassert p(3) == 7 and p[0] == 1 and p[-1] == 2\np[0] = 5\nassert p(0) == 5\ndel p[0]\n"
     "assert p.c == [2]", ""),
    ("large data", "def tens(xs):\n    return [x * 10 for x in xs]",
     "xs = list(range(50000))\nassert tens(xs) == [x * 10 for x in xs]", ""),
    ("many calls", SQUARE, "for i in range(2000):\n    assert square(i) == i * i", ""),
    ("randomness", "import random\ndef roll(seed):\n    random.seed(seed)\n    return random.randint(1, 6)",
     "assert roll(1) == roll(1) and 1 <= roll(2) <= 6", ""),
    ("modes of files", "import os, shutil\ndef copy(a, b):\n    open(a, 'w').write('x')\n    shutil.copy(a, b)\n"
     "    os.chmod(b, 0o600)\n    return os.path.getsize(b)", "assert copy('a', 'b') == 1", ""),
    ("temporary files", "import tempfile, os, json, pathlib\ndef trip(x):\n    with tempfile.TemporaryDirectory(dir='.') as d:\n"
     "        p = pathlib.Path(d) / 'x.json'\n        p.write_text(json.dumps(x))\n        return json.loads(p.read_text())",
     "assert trip({'a': [1]}) == {'a': [1]}", ""),
    ("databases", "import sqlite3\ndef count(rows):\n    c = sqlite3.connect(':memory:')\n    c.execute('create table t (a)')\n"
     "    c.executemany('insert into t values (?)', rows)\n    return c.execute('select count(*) from t').fetchone()[0]",
     "assert count([(1,), (2,)]) == 2", ""),
    ("hashes and time", "import hashlib, time, zoneinfo, datetime, uuid, secrets\ndef h(s):\n    time.time(); uuid.uuid4(); secrets.token_hex(2)\n"
     "    return hashlib.sha256(s.encode()).hexdigest()[:4]", "assert h('a') == 'ca97'", ""),
    ("limits raised", "import resource, sys\nresource.setrlimit(resource.RLIMIT_STACK, resource.getrlimit(resource.RLIMIT_STACK))\n"
     "sys.setrecursionlimit(3000)\ndef deep(n):\n    return 0 if n == 0 else 1 + deep(n - 1)", "assert deep(2000) == 2000", ""),
]  # fmt: skip
