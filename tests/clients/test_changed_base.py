"""PiSSA and OLoRA: what PEFT computes with its changed base, lorafold's conversion computes with the first one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import lorafold
from tests.builders import one_thread as one_thread
from tests.clients.peft_models import peft


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.first, self.second = nn.Linear(12, 20), nn.Linear(20, 7)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.second(self.first(x).tanh())


@pytest.mark.parametrize("start", ["pissa", "olora"])
def test_the_outputs_are_those_of_peft(start: str, tmp_path: Path) -> None:
    save_file(Model().state_dict(), tmp_path / "base.safetensors")
    config = {"target_modules": ["first", "second"], "r": 3, "lora_alpha": 4}
    model = peft.get_peft_model(Model(), peft.LoraConfig(**config, init_lora_weights=start))
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if "lora_" in key:  # as training would
                parameter += 0.3 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(len(key)))
    model.save_pretrained(tmp_path / "trained")
    result = lorafold.convert(tmp_path / "trained", format="peft", base=str(tmp_path / "base.safetensors"))
    plain = peft.PeftModel.from_pretrained(Model(), str(result.save(tmp_path / "plain")))
    x = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(plain(x), model(x), rtol=0, atol=2e-5)
    assert not torch.allclose(Model()(x), model(x), atol=0.1)
