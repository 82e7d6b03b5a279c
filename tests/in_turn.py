"""A cluster without processes: what it is given is pickled as for a worker, and comes back in another order."""

import pytest

from plurimask.cluster import FailedCasesError


class InTurn:
    """As `cluster.Cluster`, but here, once a case, from the last to the first."""

    def map(self, make, items, gpu=False):
        pickle = pytest.importorskip("ray.cloudpickle")

        def sent(value):
            return pickle.loads(pickle.dumps(value))

        work, reasons = sent(make)(), {}
        for name in reversed(items):
            try:
                yield sent(work(sent(items[name])))
            except RuntimeError as error:
                reasons[name] = str(error)
        if reasons:
            raise FailedCasesError(reasons, len(items))
