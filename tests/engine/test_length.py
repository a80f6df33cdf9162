"""How long a training is where no number of steps is set."""

import pytest

from smoothiou.engine.length import steps_for


@pytest.mark.parametrize(
    ("images", "batch_size", "steps"),
    [
        (1, 4, 50),  # 100 images seen, and no fewer than 50 steps
        (200, 4, 400),  # 1,414 seen
        (500, 4, 600),  # 2,236 seen
        (500, 8, 300),
        (20_000, 4, 5_000),  # each once, which is more than 14,142
    ],
)
def test_steps_follow_from_the_number_of_training_images(images, batch_size, steps):
    assert steps_for(images, batch_size=batch_size) == steps
