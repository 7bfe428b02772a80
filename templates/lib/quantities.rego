package lib.quantities

# What a suffix multiplies by, as [factor, power of ten].
suffixes = {
  "n": [1, -9], "u": [1, -6], "m": [1, -3], "": [1, 0],
  "k": [1, 3], "M": [1, 6], "G": [1, 9], "T": [1, 12], "P": [1, 15], "E": [1, 18],
  "Ki": [1024, 0], "Mi": [1048576, 0], "Gi": [1073741824, 0],
  "Ti": [1099511627776, 0], "Pi": [1125899906842624, 0], "Ei": [1152921504606846976, 0],
}

signs = {"": 1, "+": 1, "-": -1}

# Sign, whole digits, fraction, suffix, exponent.
grammar = `^([+-]?)([0-9]*)(?:\.([0-9]*))?(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?[0-9]{1,3}))?$`

# The quantity in billionths, the finest step that Kubernetes keeps, so that notations of one amount compare equal.
# Whole digits are scaled by powers of ten, as decimal fractions would be rounded. Undefined if it is no quantity.
nanos(quantity) = amount {
  found := regex.find_all_string_submatch_n(grammar, text(quantity), 1)[0]
  digits := concat("", [found[2], found[3]])
  digits != ""
  scale := suffixes[found[4]]
  power := ((9 + scale[1]) + exponent(found[5])) - count(found[3])
  amount := ((signs[found[1]] * whole(digits)) * scale[0]) * to_number(sprintf("1e%d", [power]))
}

text(quantity) = quantity {
  is_string(quantity)
}

text(quantity) = written {
  is_number(quantity)
  written := json.marshal(quantity)
}

whole(digits) = value {
  value := to_number(trim_left(digits, "0"))
} else = 0

exponent("") = 0

exponent(written) = to_number(trim_prefix(written, "+")) {
  written != ""
}
