"""The two passes over Jacobians: dot products of their rows, and weighted sums of their rows."""

import functools
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from cgtutor.aggregation._vaccine import Array

#: Columns that are multiplied in one go for a Gramian, and for a weighted sum.
_COLUMNS, _COLUMNS_OF_SUM = 1024, 4096
#: With fewer columns than this a Jacobian is small.
_SMALL = 4096


def gramian(jacobians: Iterable[Tensor]) -> Tensor:
    """Dot products of the task gradients that some Jacobians hold together.

    Args:
        jacobians: Of a group of parameters, such as ``[p.jac for p in group]``: each of shape
            (T, …), floating-point, or complex where a parameter is.

    Returns:
        Shape (T, T), float64, on the CPU.

    Raises:
        ValueError: There is no Jacobian, one is not such a tensor, or numbers of rows differ.

    >>> gramian([torch.tensor([[3.0, 0.0], [1.0, 2.0]]), torch.tensor([4.0, 0.0])])
    tensor([[25.,  3.],
            [ 3.,  5.]], dtype=torch.float64)
    """
    parts = list(jacobians)
    for i, part in enumerate(parts):
        if not isinstance(part, Tensor):
            raise ValueError(f"jacobians[{i}] must be a tensor, got {part!r}")
        kind = part.is_floating_point() or part.is_complex()
        if not kind or part.ndim == 0 or len(part) != len(parts[0]):
            rows = len(parts[0]) if i else "T"
            raise ValueError(
                f"jacobians[{i}] must be a floating-point tensor of shape ({rows}, ...), got shape "
                f"{tuple(part.shape)}, {part.dtype}"
            )
    if not parts:
        raise ValueError("jacobians must hold at least one tensor, got none")
    return torch.from_numpy(Jacobians(parts, sizes=[len(parts)]).gramians()[0])


def as_matrix(jacobian: Tensor) -> Tensor:
    """Shape (T, …) as (T, N), all real: a complex number is a pair of real ones."""
    if jacobian.is_complex():
        jacobian = torch.view_as_real(jacobian.resolve_conj())
    return jacobian.flatten(1) if jacobian.ndim > 1 else jacobian.unsqueeze(1)


def as_row(vector: Tensor, jacobian: Tensor) -> Tensor:
    """A vector of length N, made from the rows of :func:`as_matrix`, in the shape of a row."""
    shape = jacobian.shape[1:]
    if jacobian.is_complex():  # of its own: a view would have to begin at an even place
        return torch.view_as_complex(vector.clone().view(*shape, 2))
    return vector.view(shape)


def common_dtype(tensors: Iterable[Tensor]) -> torch.dtype:
    """The real dtype that holds what each of these does: of complex numbers the parts."""
    dtypes = [tensor.dtype.to_real() for tensor in tensors]
    return functools.reduce(torch.promote_types, dtypes)


def _without_autocast(method: Callable[..., Any]) -> Callable[..., Any]:
    """Keep autocast from lowering the precision of the products in a method."""

    @functools.wraps(method)
    def wrapped(*args: Any) -> Any:
        if not torch.is_autocast_enabled("cpu") and not torch.is_autocast_enabled("cuda"):
            return method(*args)
        with torch.autocast("cpu", enabled=False), torch.autocast("cuda", enabled=False):
            return method(*args)

    return wrapped


class Jacobians:
    """P Jacobians of T rows each, on any devices, with the two things that are done to them.

    A float32 sum over millions of columns errs in the fourth digit, and float64 throughout
    takes over ten times as long. So 1024 columns at a time are multiplied in the Jacobian's
    precision, and these products are summed in float64: right to 1e-7, and faster than either.
    Jacobians with few columns go, if they lie on the CPU, into one float64 matrix for numpy, which
    takes less time than torch to begin with something small.

    Args:
        jacobians: P tensors of shape (T, …), floating-point or complex.
        precise: ``False`` for products in the Jacobians' own precision (half precision: in
            float32), as other implementations have them.
        sizes: How many Jacobians one after the other make a group, for each of B groups; by
            default each is one.
    """

    def __init__(
        self,
        jacobians: Sequence[Tensor],
        precise: bool = True,
        sizes: Sequence[int] | None = None,
    ) -> None:
        self._sizes = [1] * len(jacobians) if sizes is None else list(sizes)
        self._jacobians = jacobians
        self._matrices = [as_matrix(jacobian.detach()) for jacobian in jacobians]
        self._precise = precise
        widths = [matrix.shape[1] for matrix in self._matrices]
        self._small = [
            p
            for p, matrix in enumerate(self._matrices)
            if precise and widths[p] < _SMALL and matrix.device.type == "cpu"
        ]
        self._large = sorted(set(range(len(widths))) - set(self._small))
        self._widths = [widths[p] for p in self._small]
        if self._small:
            together = torch.cat([self._matrices[p] for p in self._small], dim=1)
            self._joined = together.double().numpy()

    @_without_autocast
    def gramians(self) -> Array:
        """All dot products of the rows of each group's Jacobians, on the host: shape (B, T, T).

        In float64 if precise; not finite where a Jacobian is not. There is one transfer for each
        device.
        """
        starts = [0, *itertools.accumulate(self._sizes[:-1])]
        with np.errstate(all="ignore"):
            return np.add.reduceat(self._products(), starts)

    def _products(self) -> Array:
        """For each Jacobian: shape (P, T, T)."""
        if not self._precise:
            matrices = [_at_least_float(matrix) for matrix in self._matrices]
            return _to_host([matrix @ matrix.T for matrix in matrices])
        tasks = self._matrices[0].shape[0]
        result = np.empty((len(self._matrices), tasks, tasks))
        end = 0
        for p, width in zip(self._small, self._widths):
            part = self._joined[:, end : end + width]
            np.matmul(part, part.T, out=result[p])
            end += width
        if self._large:
            result[self._large] = _to_host([_product(self._matrices[p]) for p in self._large])
        for p in self._large:
            squares = result[p].diagonal()
            # squares in float32 overflow above 1e38 and lose digits near 1e-38
            if not ((squares > 1e-24) & (squares < 1e38)).all():
                result[p] = _scaled_product(self._matrices[p])
        return result

    @_without_autocast
    def combine(self, weights: Array) -> list[Tensor]:
        """For each Jacobian the weighted sum of its rows, of the shape of a row.

        Args:
            weights: Shape (B, T), the weights of the rows in each group.
        """
        weights = np.repeat(weights, self._sizes, axis=0)
        result = [Tensor()] * len(self._matrices)
        if self._small:
            spread = np.repeat(weights[self._small].T, self._widths, axis=1)
            with np.errstate(all="ignore"):
                sums = torch.from_numpy(np.einsum("tn,tn->n", spread, self._joined))
            dtypes = {self._matrices[p].dtype for p in self._small}
            mixed = len(dtypes) > 1
            parts = torch.split(sums if mixed else sums.to(dtypes.pop()), self._widths)
            for p, part in zip(self._small, parts):
                result[p] = part.to(self._matrices[p].dtype) if mixed else part
        moved: dict[torch.device, Tensor] = {}  # the weights, once to each device
        for p in self._large:
            matrix = self._matrices[p]
            if matrix.device not in moved:
                moved[matrix.device] = _on(matrix.device, weights)
            result[p] = _combine(moved[matrix.device][p], matrix)
        return [as_row(total, jacobian) for total, jacobian in zip(result, self._jacobians)]


def _on(device: torch.device, weights: Array) -> Tensor:
    tensor = torch.from_numpy(weights)
    return tensor.float().to(device) if device.type == "mps" else tensor.to(device)


def _combine(weights: Tensor, matrix: Tensor) -> Tensor:
    if matrix.dtype in (torch.float16, torch.bfloat16):  # which weights may not fit into
        pieces = torch.split(matrix, _COLUMNS_OF_SUM * 256, dim=1)
        return torch.cat([_combine(weights, piece.float()).to(piece.dtype) for piece in pieces])
    vector = weights.to(matrix.dtype)
    tasks, columns = matrix.shape
    if matrix.device.type != "cpu" or columns < 4 * _COLUMNS_OF_SUM:
        return vector @ matrix
    # a product of a vector and a matrix runs on one core, a batch of products on all
    whole = columns - columns % _COLUMNS_OF_SUM
    chunks = torch.unflatten(matrix[:, :whole], 1, (-1, _COLUMNS_OF_SUM)).transpose(0, 1)
    result = matrix.new_empty(columns)
    torch.bmm(
        vector.expand(len(chunks), 1, tasks),
        chunks,
        out=result[:whole].view(-1, 1, _COLUMNS_OF_SUM),
    )
    torch.mv(matrix[:, whole:].T, vector, out=result[whole:])
    return result


def _at_least_float(matrix: Tensor) -> Tensor:
    return matrix.float() if matrix.dtype in (torch.float16, torch.bfloat16) else matrix


def _product(matrix: Tensor) -> Tensor:
    """One Gramian, in float64; on the CPU if the device has no float64."""
    matrix = _at_least_float(matrix)
    device = "cpu" if matrix.device.type == "mps" else matrix.device
    columns = matrix.shape[1]
    whole = columns - columns % _COLUMNS
    parts = []
    if whole:
        chunks = torch.unflatten(matrix[:, :whole], 1, (-1, _COLUMNS)).transpose(0, 1)
        parts.append(torch.bmm(chunks, chunks.mT).to(device).sum(0, dtype=torch.float64))
    if whole < columns or not whole:
        rest = matrix[:, whole:].to(device, torch.float64)
        parts.append(rest @ rest.T)
    return parts[0] + parts[1] if len(parts) == 2 else parts[0]


def _scaled_product(matrix: Tensor) -> Array:
    """The same for rows whose squares leave the range of their dtype."""
    largest = (
        matrix.abs().amax(1, keepdim=True) if matrix.shape[1] else matrix.new_ones(len(matrix), 1)
    )
    scale = torch.where(largest == 0, torch.ones_like(largest), largest)
    back = scale.cpu().double().numpy()
    scaled: Array = _to_host([_product(matrix / scale)])[0] * back * back.T
    return scaled


def _to_host(products: list[Tensor]) -> Array:
    """P matrices as one array, with one transfer for each device they lie on."""
    places: dict[torch.device, list[int]] = {}
    for p, product in enumerate(products):
        places.setdefault(product.device, []).append(p)
    ready = [torch.stack([products[p] for p in here]).cpu().numpy() for here in places.values()]
    result = np.empty((len(products), *products[0].shape), np.result_type(*ready))
    for here, part in zip(places.values(), ready):
        result[here] = part
    return result
