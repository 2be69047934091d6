import pytest

from senet.errors import SenetError
from senet.kernels.steps import Steps


@pytest.mark.parametrize(
    "text", ["bn se add relu", "bn relu se", "bn relu", "se", "relu se", "bn add", "add relu"]
)
def test_steps_are_read_and_written(text):
    assert str(Steps.parse(text)) == text


def test_where_the_relu_stands():
    assert Steps.parse("bn relu se").relu_first and not Steps.parse("bn relu se").relu
    assert Steps.parse("bn se relu").relu and not Steps.parse("bn se relu").relu_first
    assert Steps.parse("bn se add relu").masked_by_output
    assert not Steps.parse("bn se relu").masked_by_output
    assert not Steps.parse("bn se add").masked_by_output


@pytest.mark.parametrize("text", ["", "bn pool", "se bn", "bn relu se add", "bn bn", "add se", "relu bn"])
def test_what_is_no_tail_is_refused(text):
    with pytest.raises(SenetError, match="steps must be some of 'bn"):
        Steps.parse(text)
