"""Pure economics: tokens and rates in, money and verdicts out. No I/O, no clock, no globals."""
