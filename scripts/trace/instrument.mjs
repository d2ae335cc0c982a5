import ts from 'typescript';

const { factory } = ts;

/** The module with a note at the start of every function, and one more at every `await`. */
export function instrument(source, file) {
  const tree = ts.createSourceFile(file, source, ts.ScriptTarget.Latest, true, ts.ScriptKind.JS);
  const transformer = (context) => {
    const visit = (node) => {
      const visited = ts.visitEachChild(node, visit, context);
      if (ts.isAwaitExpression(node)) return inOrder(note('await', ''), visited);
      return ts.isFunctionLike(node) && visited.body ? noted(visited, nameOf(node), file) : visited;
    };
    return (node) => ts.visitNode(node, visit);
  };
  const { transformed } = ts.transform(tree, [transformer]);
  return ts.createPrinter().printFile(transformed[0]);
}

function noted(node, name, file) {
  const call = note(file, name);
  const body = ts.isBlock(node.body)
    ? factory.updateBlock(node.body, [factory.createExpressionStatement(call), ...node.body.statements])
    : factory.createParenthesizedExpression(inOrder(call, node.body));
  switch (node.kind) {
    case ts.SyntaxKind.ArrowFunction:
      return factory.updateArrowFunction(
        node,
        node.modifiers,
        undefined,
        node.parameters,
        undefined,
        node.equalsGreaterThanToken,
        body,
      );
    case ts.SyntaxKind.FunctionDeclaration:
      return factory.updateFunctionDeclaration(
        node,
        node.modifiers,
        node.asteriskToken,
        node.name,
        undefined,
        node.parameters,
        undefined,
        body,
      );
    case ts.SyntaxKind.FunctionExpression:
      return factory.updateFunctionExpression(
        node,
        node.modifiers,
        node.asteriskToken,
        node.name,
        undefined,
        node.parameters,
        undefined,
        body,
      );
    case ts.SyntaxKind.MethodDeclaration:
      return factory.updateMethodDeclaration(
        node,
        node.modifiers,
        node.asteriskToken,
        node.name,
        undefined,
        undefined,
        node.parameters,
        undefined,
        body,
      );
    case ts.SyntaxKind.Constructor:
      return factory.updateConstructorDeclaration(node, node.modifiers, node.parameters, body);
    case ts.SyntaxKind.GetAccessor:
      return factory.updateGetAccessorDeclaration(node, node.modifiers, node.name, node.parameters, undefined, body);
    case ts.SyntaxKind.SetAccessor:
      return factory.updateSetAccessorDeclaration(node, node.modifiers, node.name, node.parameters, body);
    default:
      throw new Error(`no note in a ${ts.SyntaxKind[node.kind]} of ${file}`);
  }
}

function note(file, name) {
  const text = [factory.createStringLiteral(file), factory.createStringLiteral(name)];
  return factory.createCallExpression(factory.createIdentifier('globalThis.sealwireTrace'), undefined, text);
}

function inOrder(first, second) {
  return factory.createParenthesizedExpression(factory.createBinaryExpression(first, ts.SyntaxKind.CommaToken, second));
}

/** A function without a name is called after what it is given to. */
function nameOf(node) {
  if (ts.isConstructorDeclaration(node)) return `new ${node.parent.name?.text ?? 'class'}`;
  if (node.name) return node.name.getText();
  const { parent } = node;
  if (ts.isCallExpression(parent)) return `(in ${parent.expression.getText().split('.').at(-1)})`;
  return parent.name?.getText() ?? '(function)';
}
