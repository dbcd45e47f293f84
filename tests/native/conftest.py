"""Processors of both kinds that kernels are written for."""

from __future__ import annotations

import pytest
import torch


@pytest.fixture(params=["AVX-512", "AVX2"])
def processor(request, monkeypatch) -> None:
    """Kernels as on processors of both kinds, where the machine can run them."""
    if request.param == "AVX2":
        monkeypatch.setattr(torch.cpu, "_is_avx512_supported", lambda: False)
    elif not torch.cpu._is_avx512_supported():
        pytest.skip("needs AVX-512")
