import 'reflect-metadata';

type Method = (...args: never[]) => Promise<string>;

/** Puts the call, with the declared types of its parameters, before the result. */
export function traced(target: object, name: string, descriptor: TypedPropertyDescriptor<Method>): void {
  const types = Reflect.getMetadata('design:paramtypes', target, name) as { name: string }[];
  const method = descriptor.value;
  if (method === undefined) return;
  descriptor.value = async function (this: unknown, ...args) {
    const shown = args.map((value, index) => `${value}: ${types[index]?.name}`).join(', ');
    return `${name}(${shown}) = ${await method.apply(this, args)}`;
  };
}
