package lib.sysctls

# A `*` at the pattern's end takes any rest.
matches(name, pattern) {
  endswith(pattern, "*")
  startswith(dotted(name), trim_suffix(dotted(pattern), "*"))
}

matches(name, pattern) {
  dotted(name) == dotted(pattern)
}

# Kubernetes takes a/b.c as a.b/c too: the first separator tells which spelling it is.
dotted(name) = swapped {
  regex.match("^[^./]*/", name)
  swapped := replace(replace(replace(name, ".", "\n"), "/", "."), "\n", "/")
} else = name
