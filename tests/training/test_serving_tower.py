import pytest
import torch
from torch import Tensor, nn

from tests.candidates.towers import HOUR, world
from upnext.content import ATTRIBUTES
from upnext.training.serving_tower import ServingUserTower
from upnext.training.user_tower import UserTower

SIZE, WINDOW, BATCH = 16, 6, 200


def tower(encoder: str) -> UserTower:
    """Random weights everywhere, also where training starts from zeros."""
    torch.manual_seed(2)
    made = UserTower(world()[2], SIZE, WINDOW, encoder, 0.2, 0.5).eval()
    for parameter in made.parameters():
        nn.init.normal_(parameter, std=0.5)
    with torch.no_grad():
        made.user.weight[0] = 0
        made.attribute.weight[0] = 0
    return made


def asked() -> dict[str, Tensor]:
    """Histories of every length, from seconds to centuries ago, also from after ``now``."""
    filled = torch.arange(WINDOW)[None, :] >= torch.randint(0, WINDOW + 1, (BATCH, 1))
    now = torch.randint(20 * HOUR, 400_000 * HOUR, (BATCH,))
    ago = (2 ** (torch.rand(BATCH, WINDOW) * 44 - 1)).long()
    return {
        "user": torch.randint(0, 100, (BATCH,), dtype=torch.int32),
        "vectors": torch.randn(BATCH, WINDOW, SIZE) * filled.unsqueeze(2),
        "weight": torch.rand(BATCH, WINDOW) * 9 * filled,
        "at": now[:, None] - ago + 5000,
        "now": now,
        "attributes": torch.randint(0, 2, (BATCH, ATTRIBUTES), dtype=torch.int32),
        "surface": torch.randint(0, 2, (BATCH,), dtype=torch.int32),
    }


@pytest.mark.parametrize("encoder", ["average", "transformer"])
def test_the_served_tower_is_the_trained_one(encoder: str) -> None:
    trained, inputs = tower(encoder), asked()
    moment, surface = inputs["now"][:, None], inputs["surface"][:, None]
    with torch.no_grad():
        expected = trained(
            inputs["user"], inputs["vectors"], inputs["weight"], inputs["at"], moment, inputs["attributes"], surface
        )[:, 0]
        served = ServingUserTower(trained)(*inputs.values())
    assert torch.allclose(served, expected, atol=1e-5)
    assert torch.allclose(served.norm(dim=1), torch.ones(BATCH), atol=1e-5)
