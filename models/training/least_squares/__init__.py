"""Levenberg and Marquardt's method for models of up to about a thousand parameters.

An epoch is one iteration over all windows of the training part, in chunks: `normal` sums the
products of residuals and Jacobian, `damping` knows how a step is damped and when it is taken,
`jacobian` differentiates, `engine` puts them together, `rules` says what can be trained so.

Not taken from `optimistix` (0.1.0, read 2026-11): its `LevenbergMarquardt` asks for one residual
vector and keeps the operator of its whole Jacobian, damps by a multiple of the identity instead of
the lengths of the columns, and holds no state between two calls that a checkpoint could carry. A
sum of chunks would have to be handed to it as the Hessian of a minimisation, and then the residuals
that decide about a step are those of its own pass over everything.

Sources: Levenberg 1944; Marquardt 1963, "An algorithm for least-squares estimation of nonlinear
parameters"; Nocedal and Wright 2006, "Numerical Optimization", section 10.3.
"""
