import fedcore.harness.session, fedcore.harness.report, fedcore.harness.lab, fedcore.harness.cells, fedcore.harness.plugin
pytest_plugins = ["pytester"]
SUITE = '''
import pytest
from fedcore import Scenario
from fedcore.harness.cells import Grid

def cells(options):
    base = Scenario(dataset=options.dataset if options.dataset != "mnist5k" else "synthetic:400", model=options.model or "mlp", num_clients=4, fraction_train=1.0, rounds=2, local_epochs=(1, 3), optimizer="sgd", lr=0.1)
    yield from Grid(base, [{"strategy": s} for s in ("fedavg", "fednova")], [{"partition": "iid"}], [{"attack": "labelflip"}], [0.5], [1.0], 2).cells()

@pytest.mark.cells(cells)
def test_cell(outcome):
    outcome.check()
'''
T='''
[noise]
sd = 2.0
df = 4
[drop.any]
max = 90
reason = "because"
[control.bites]
min = 1
reason = "must bite"
'''
def test_x(pytester):
    pytester.makepyfile(SUITE)
    (pytester.path/"thresholds.toml").write_text(T)
    r = pytester.runpytest_inprocess("-p", "fedcore.harness.plugin", "--jobs", "1", "--durations=3")
    r = pytester.runpytest_inprocess("-p", "fedcore.harness.plugin", "--jobs", "1","--model","mlpp")
    print(r.ret)
    r = pytester.runpytest_inprocess("-p", "fedcore.harness.plugin", "--jobs", "2","--fresh")
    assert 0
