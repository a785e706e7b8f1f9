"""SQL text to physical plan: pure, so the same text and snapshot always give the same plan.

statement = parse(text, names)             # planner/parse
bound     = bind(query, snapshot)          # planner/bind
logical   = optimize(bound.plan, RULES)    # planner/rules
physical  = lower(logical, snapshot, facts)  # planner/lower: costs in seconds
"""
