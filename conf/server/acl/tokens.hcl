# Tokens, as 'plugind acl token create' prints them. Begin with one that may do everything:
#
#   plugind acl token create --type management --name operator
#
# Append the block that it prints. The secret itself is shown only once and is written to no file.
